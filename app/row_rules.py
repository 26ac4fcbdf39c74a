"""What must hold of each row of a table, in one function that its only check calls.

For the tables that are written most: the server reads the text of every check anew for each
statement that writes to its table, which took a quarter of what a check-in's statements cost. A
function is kept as it was read. One that is broken is still named, as a check of that name would be.
"""

from collections.abc import Mapping
from dataclasses import dataclass

from sqlalchemy import DDL, CheckConstraint, Table, event


@dataclass(frozen=True, slots=True)
class RowRules:
    table: str
    columns: Mapping[str, str]
    """That the rules look at, with their types."""
    rules: Mapping[str, str]
    """SQL by the name that is told when it is false; null breaks no rule, as in a check."""

    NAME = "rules"

    @property
    def check_sql(self) -> str:
        return f"{self._function}({', '.join(self.columns)})"

    @property
    def check(self) -> CheckConstraint:
        return CheckConstraint(self.check_sql, name=self.NAME)

    @property
    def function_sql(self) -> str:
        """All rules are one expression, because each one by itself would be prepared anew in
        every transaction; which one is broken is looked for only when one is."""
        arguments = ", ".join(f"{name} {kind}" for name, kind in self.columns.items())
        each = " and ".join(f"({rule})" for rule in self.rules.values())
        broken = " ".join(
            f"when not ({rule}) then '{self.table}_{name}'" for name, rule in self.rules.items()
        )
        return f"""
create or replace function {self._function}({arguments}) returns boolean
language plpgsql immutable parallel safe as $$
declare broken text;
begin
  if {each} then return true; end if;
  broken := case {broken} end;
  if broken is null then return true; end if;
  raise check_violation using table = '{self.table}', constraint = broken,
    message = 'new row for relation "{self.table}" violates check constraint "' || broken || '"';
end $$
"""

    def create_with(self, table: Table) -> None:
        """Have the function made before the table."""
        event.listen(table, "before_create", DDL(self.function_sql))  # type: ignore[no-untyped-call]

    @property
    def _function(self) -> str:
        return f"wellward_rules_of_{self.table}"
