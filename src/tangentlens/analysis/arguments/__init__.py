"""What a user gives, read and checked."""
