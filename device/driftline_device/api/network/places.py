"""How many questions may be under way: the one being answered, and those that wait for it."""

from __future__ import annotations

from driftline_device.api.errors import ApiError


class Place:
    """One question under way; `leave` ends that, however often it is called."""

    def __init__(self, places: Places) -> None:
        self._places: Places | None = places

    def leave(self) -> None:
        """There is room for another."""
        places, self._places = self._places, None
        if places is not None:
            places.num_taken -= 1


class Places:
    """Questions under way, at most `limit`; used by the event loop's thread only."""

    def __init__(self, limit: int) -> None:
        self._limit = limit
        self.num_taken = 0

    def check(self) -> None:
        """ApiError (429) if there is no place: said before a body is read in vain."""
        if self.num_taken >= self._limit:
            raise ApiError(
                429,
                f"{self.num_taken} requests are under way already, as many as may be: "
                "ask again later (api.max_waiting bounds how many may wait)",
                code="too_many_requests",
            )

    def take(self) -> Place:
        """A place for a request whose body is here; ApiError (429) if there is none."""
        self.check()
        self.num_taken += 1
        return Place(self)
