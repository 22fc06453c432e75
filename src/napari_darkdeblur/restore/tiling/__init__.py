"""Running the network on planes of any size with bounded memory."""
