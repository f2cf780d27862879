"""Events, the stitched stream, scores."""
