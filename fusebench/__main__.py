"""`python -m fusebench` is the command `fusebench`."""

from fusebench.cli import main

main()
