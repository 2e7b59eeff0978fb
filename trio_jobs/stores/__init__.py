"""Where jobs are kept. Importing this package imports no driver."""
