"""Long work: streams through files in bounded memory, and the same job over sharded files on a Dask cluster."""
