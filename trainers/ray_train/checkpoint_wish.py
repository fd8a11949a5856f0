"""A checkpoint that somebody wishes for now: kept until the parts of all members answer it, or one could not
write its own."""


class CheckpointWish:
    """At most one, known to the service by its number.

    Members are asked by a number of ours, the ask: each does the newest one once. A group that ended against
    its will may have begun to save and never end it, so the next one is asked anew.
    """

    def __init__(self) -> None:
        self._wish = 0
        self._first = 0
        self._newest = 0

    @property
    def ask(self) -> int:
        """What members are asked for now; 0 for nothing."""
        return self._newest if self._wish else 0

    def want(self, wish: int) -> None:
        self._wish = wish
        self._newest += 1
        self._first = self._newest

    def again(self) -> None:
        """What was saved so far may never be whole."""
        if self._wish:
            self._newest += 1

    def answered(self, ask: int) -> int:
        """The number of the wish that is over with what was saved for an ask; 0 for none."""
        if not self._wish or ask < self._first:
            return 0
        wish, self._wish = self._wish, 0
        return wish
