"""Images of a data set, wherever they lie: a folder, Parquet files, WebDataset tars or a list of files."""
