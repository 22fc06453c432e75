"""The Deblur dock: from what is chosen to a restored layer."""
