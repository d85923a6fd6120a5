"""`python -m safeharbor_backup …`: the command `safeharbor`, where it is not on the PATH."""

from __future__ import annotations

from safeharbor_backup.cli.main import main

if __name__ == "__main__":
    main()
