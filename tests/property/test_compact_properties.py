"""Whatever several drivers committed, in whatever order: compacting changes no view and no feed."""

from __future__ import annotations

import json
import tempfile
from datetime import UTC, datetime, timedelta
from pathlib import Path

from hypothesis import given, settings
from hypothesis import strategies as st

from voxlake.store.compaction import compact_table, expired_files, table_files
from voxlake.store.objects import Objects
from voxlake.store.query import run_sql
from voxlake.store.tables import Tables

START = datetime(2026, 1, 1, tzinfo=UTC)
# Each commit: rows of (subject, seconds of the writer's clock); -1 compacts in between.
COMMITS = st.lists(
    st.one_of(
        st.just(None),
        st.lists(st.tuples(st.integers(0, 5), st.integers(0, 9)), min_size=1, max_size=6),
    ),
    min_size=1,
    max_size=7,
)


@settings(max_examples=12, deadline=None)
@given(COMMITS)
def test_views_and_versions_stay(commits: list[list[tuple[int, int]] | None]) -> None:
    with tempfile.TemporaryDirectory() as folder:
        tables = Tables(Objects.open(Path(folder)))
        value = 0
        first: dict[str, int] = {}
        for rows in commits:
            if rows is None:
                compact_table(tables, "labels")
                continue
            made = []
            for subject, seconds in rows:
                value += 1
                made.append(
                    {
                        "level": "series",
                        "subject": str(subject),
                        "name": "n",
                        "number": float(value),
                        # Two rows of one instant are told apart by their files' names, which are random.
                        "committed_at": START + timedelta(seconds=seconds, microseconds=value),
                    }
                )
            version = tables.append("labels", made)
            for row in made:
                first.setdefault(row["subject"], version)
        question = "select subject, number, committed_at from labels order by all"
        before = run_sql(tables, question).rows()
        compact_table(tables, "labels")
        assert run_sql(tables, question).rows() == before
        _, files = table_files(tables, "labels")
        if len(files) == 1 and files[0].segments is not None:
            assert files[0].rows == len(before) == len(first)
            counts: dict[int, int] = {}
            for version in first.values():
                counts[version] = counts.get(version, 0) + 1
            assert dict(files[0].segments) == counts
            assert [version for version, _ in files[0].segments] == sorted(counts)
            assert json.loads(files[0].tags["voxlake.segments"])
        late = (datetime.now(UTC) + timedelta(days=1)).timestamp()
        for path in expired_files(tables, "labels", late, ()):
            tables.objects.delete(path)
        assert run_sql(tables, question).rows() == before
