"""Recipe + data index + machine -> plan. Pure: no torch, nothing started."""
