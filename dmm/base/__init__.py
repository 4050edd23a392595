"""The ground of every other package. Nothing here knows of models, data or trials.

paths.py         DMM_HOME, atomic file writes, names that cannot collide
checksums.py     JSON and bytes that carry their sha256
lock.py          locks that name their holder
code_hash.py     which files of dmm can move a number, and a hash of each
errors.py        one clear error for an unknown name
stopping.py      SIGINT and SIGTERM end a command in seconds
fields.py        checks of the fields of dataclasses
memory.py        the peak memory of work in this process
secrets.py       passwords are hidden in texts
seeds.py         seeds derived from a trial's seed
threads.py       one thread of torch for a block of work
source_code.py   the text of a module and of the files that it imports, carried to other processes
provenance.py    commit, library versions, machine
progress_bar.py  a bar for long work
text_tables.py   tables as CSV, Markdown and plain text
"""
