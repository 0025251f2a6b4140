"""What the modes hold where nobody says it, and how inputs are shown."""
