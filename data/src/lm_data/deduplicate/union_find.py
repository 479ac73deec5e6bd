"""Disjoint sets (Galler & Fischer, 1964), with path halving and union by size."""


class UnionFind:
    """A partition of ``0 .. num_items - 1`` that only grows coarser."""

    def __init__(self, num_items: int) -> None:
        self._parents = list(range(num_items))
        self._sizes = [1] * num_items

    def find(self, item: int) -> int:
        """Return the item that stands for the set of ``item``."""
        parents = self._parents
        while parents[item] != item:
            # Every other step is skipped next time, which keeps all paths short.
            parents[item] = parents[parents[item]]
            item = parents[item]
        return item

    def union(self, first: int, second: int) -> bool:
        """Join two sets; return whether they were apart."""
        first, second = self.find(first), self.find(second)
        if first == second:
            return False
        if self._sizes[first] < self._sizes[second]:
            first, second = second, first
        self._parents[second] = first
        self._sizes[first] += self._sizes[second]
        return True

    def groups(self) -> list[list[int]]:
        """Return the sets, each in ascending order, ordered by their smallest item."""
        members: dict[int, list[int]] = {}
        for item in range(len(self._parents)):
            members.setdefault(self.find(item), []).append(item)
        return list(members.values())
