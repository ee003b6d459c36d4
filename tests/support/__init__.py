"""What tests of the whole engine share: a project directory, real processes, read-backs."""
