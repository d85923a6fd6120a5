"""Photos have captions; the newest entries are found by an index."""

from __future__ import annotations

import sqlalchemy as sa
from alembic import op

revision = "0002"
down_revision = "0001"
branch_labels = None
depends_on = None


def upgrade() -> None:
    op.add_column("photo", sa.Column("caption", sa.String(200), server_default="", nullable=False))
    op.create_index("ix_entry_newest", "entry", [sa.text("arrived_at DESC"), sa.text("id DESC")])


def downgrade() -> None:
    op.drop_index("ix_entry_newest", table_name="entry")
    op.drop_column("photo", "caption")
