"""What was said of nodes, in the database."""

import json
from collections.abc import Mapping

from sqlalchemy import select
from sqlalchemy.dialects.sqlite import insert
from sqlalchemy.engine import Connection

from orchestrator.domain.node_marks import NodeMark
from orchestrator.store.tables import NODES


def node_marks(connection: Connection) -> Mapping[str, NodeMark]:
    rows = connection.execute(select(NODES.c.id, NODES.c.body)).all()
    return {row.id: NodeMark(row.id, **json.loads(row.body)) for row in rows}


def put_node_mark(connection: Connection, mark: NodeMark) -> None:
    body = {name: value for name, value in vars(mark).items() if name != "id"}
    statement = insert(NODES)
    connection.execute(
        statement.on_conflict_do_update(index_elements=["id"], set_={"body": statement.excluded.body}),
        {"id": mark.id, "body": json.dumps(body)},
    )


def drop_node_mark(connection: Connection, node_id: str) -> None:
    connection.execute(NODES.delete().where(NODES.c.id == node_id))
