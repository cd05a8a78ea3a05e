"""The data set: download, ingestion with verification of every file, and splits into subsets."""
