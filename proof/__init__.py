"""How Safe Harbor is attacked, so often that numbers mean something: `make prove`, and docs/how-it-is-tested.md."""
