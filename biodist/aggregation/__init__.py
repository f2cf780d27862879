"""Many runs as one picture: read, reduced, written as one TensorBoard tree or as a table."""
