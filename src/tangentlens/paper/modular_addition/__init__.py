"""What the settings on modular addition share."""
