"""What a teacher said, kept on disk."""
