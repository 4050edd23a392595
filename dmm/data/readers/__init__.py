"""One file per source of data. `dmm.data.Reader` describes a file."""
