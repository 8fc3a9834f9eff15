"""What somebody who sees uploaded tokens learns of the pictures."""
