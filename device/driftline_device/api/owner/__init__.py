"""What an owner sees and says over HTTP: past answers, updates, feedback."""
