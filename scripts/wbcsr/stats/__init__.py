"""What follows from the predictions and records of jobs, as data frames; nothing here is formatted."""
