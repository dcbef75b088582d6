"""Ways to say a workflow; none imports another."""
