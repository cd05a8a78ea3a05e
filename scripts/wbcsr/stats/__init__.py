"""Statistics of the predictions and of the jobs' records, as data frames; nothing here is formatted for readers."""
