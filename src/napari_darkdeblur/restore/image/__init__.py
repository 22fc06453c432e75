"""Images of any dtype and axes, as the network takes them and as they go back."""
