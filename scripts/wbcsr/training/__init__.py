"""What the trainings of all networks share: processes, schedule, repeatability and checkpoints."""
