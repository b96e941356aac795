"""Reading the files that models write: netCDF and tables of numbers."""
