"""HDF5: described by a child process, read by this one."""
