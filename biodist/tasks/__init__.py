"""What differs between tasks, behind one protocol."""
