"""OpenLineage run events: one START and one end for each attempt at a job."""
