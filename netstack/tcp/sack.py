"""The scoreboard: everything that is sent and not yet acknowledged, and what SACK says about it.

    snd_una [Sent)[Sent, sacked)[Sent, lost)[Sent, lost and resent)[Sent) snd_nxt

    in flight = outstanding - sacked - lost + resent, all in bytes

A `Sent` may be a super-segment of many packets; it is split when SACK or the window covers a part. Those that may
still arrive are linked in the order of their last transmission, oldest first, for RACK; those that are lost wait in
`to_resend`. Sacked neighbours are merged, so that blocks reported again cost nothing.

Source: RFC 2018, RFC 6675 §2-4 (the variables), RFC 8985 §5 (the order).
Not here: when something counts as lost (`recovery`), the receiver's blocks (`reassembly`).
"""

from __future__ import annotations

from bisect import bisect_left, bisect_right, insort
from collections.abc import Callable, Iterator
from operator import attrgetter

_start_of = attrgetter("start")


class Sent:
    """[start, end) of the sequence space, SYN and FIN included, transmitted together for the last time."""

    __slots__ = ("earlier", "end", "later", "lost", "resent", "sacked", "sent_time", "start", "transmissions")

    def __init__(self, start: int, end: int, sent_time: float) -> None:
        self.start: int = start
        self.end: int = end
        self.sent_time: float = sent_time
        self.transmissions: int = 1
        self.sacked: bool = False
        self.lost: bool = False
        self.resent: bool = False
        self.earlier: Sent | None = None
        self.later: Sent | None = None


class Scoreboard:
    """The retransmission queue of one connection."""

    __slots__ = ("_newest", "_oldest", "lost_out", "resent_out", "sacked_out", "segments", "to_resend")

    def __init__(self) -> None:
        self.segments: list[Sent] = []
        self.to_resend: list[Sent] = []
        self.sacked_out: int = 0
        self.lost_out: int = 0
        self.resent_out: int = 0
        self._oldest: Sent | None = None
        self._newest: Sent | None = None

    @property
    def outstanding(self) -> int:
        segments = self.segments
        return segments[-1].end - segments[0].start if segments else 0

    @property
    def in_flight(self) -> int:
        segments = self.segments
        if not segments:
            return 0
        return segments[-1].end - segments[0].start - self.sacked_out - self.lost_out + self.resent_out

    def first_lost(self) -> Sent | None:
        """The next one to retransmit."""
        return self.to_resend[0] if self.to_resend else None

    @property
    def oldest(self) -> Sent | None:
        """Of those that may still arrive, the one transmitted first."""
        return self._oldest

    def by_time(self) -> Iterator[Sent]:
        """Those that may still arrive, the one transmitted first first. The current one may be removed meanwhile."""
        sent = self._oldest
        while sent is not None:
            following = sent.later
            yield sent
            sent = following

    def send(self, start: int, end: int, now: float) -> Sent:
        sent = Sent(start, end, now)
        self.segments.append(sent)
        self._link_newest(sent)
        return sent

    def resend(self, sent: Sent, now: float) -> None:
        """A lost one goes out again."""
        self._take_out(sent)
        sent.resent = True
        sent.transmissions += 1
        sent.sent_time = now
        self.resent_out += sent.end - sent.start
        self._link_newest(sent)

    def split(self, sent: Sent, at: int) -> Sent:
        """Cut `sent` in two; the new, left part is returned. The right part keeps the object and its places."""
        left = Sent(sent.start, at, sent.sent_time)
        left.transmissions = sent.transmissions
        left.sacked, left.lost, left.resent = sent.sacked, sent.lost, sent.resent
        self.segments.insert(self._index(sent.start), left)
        sent.start = at
        if sent.lost and not sent.resent:
            insort(self.to_resend, left, key=_start_of)
        elif not sent.sacked:
            self._link_before(left, sent)
        return left

    def acknowledge(self, ack: int) -> list[Sent]:
        """Everything before `ack` has arrived; those of them that were not sacked before."""
        segments = self.segments
        index = self._index(ack)
        if index >= 0 and segments[index].start < ack < segments[index].end:
            self.split(segments[index], ack)
        count = 0
        delivered = []
        for sent in segments:
            if sent.end > ack:
                break
            count += 1
            if not sent.sacked:
                delivered.append(sent)
            self._settle(sent)
        del segments[:count]
        return delivered

    def sack(self, left: int, right: int, grain: int) -> list[Sent]:
        """[left, right) has arrived; what of it was not known yet. Super-segments are cut at multiples of grain."""
        segments = self.segments
        index = max(self._index(left), 0)
        delivered = []
        while index < len(segments) and segments[index].start < right:
            sent = segments[index]
            index += 1
            if sent.sacked or sent.end <= left:
                continue
            start, end = sent.start, sent.end
            low = start if left <= start else start + -(-(left - start) // grain) * grain
            high = end if right >= end else start + (right - start) // grain * grain
            if low >= high:
                continue
            if low > start:
                self.split(sent, low)
                index += 1
            if high < end:
                sent = self.split(sent, high)
            delivered.append(sent)
            self._settle(sent)
            sent.sacked = True
            self.sacked_out += high - low
        if delivered:
            self._merge(max(self._index(left) - 1, 0), right)
        return delivered

    def mark_lost(self, sent: Sent) -> None:
        """Not to arrive any more: neither the original nor, if it was resent, that one."""
        if sent.lost and not sent.resent:
            return
        if sent.resent:
            sent.resent = False
            self.resent_out -= sent.end - sent.start
        if not sent.lost:
            sent.lost = True
            self.lost_out += sent.end - sent.start
        self._unlink(sent)
        insort(self.to_resend, sent, key=_start_of)

    def mark_lost_where(self, is_lost: Callable[[Sent], bool]) -> None:
        """After a timeout: the first, and what else `is_lost` says.

        A sacked head that is not acknowledged means that the receiver has reneged: then nothing is known to be there.
        """
        segments = self.segments
        if segments and segments[0].sacked:
            for sent in segments:
                sent.sacked = False
            self.sacked_out = 0
            is_lost = _any
        for sent in segments:
            if not sent.sacked and (sent is segments[0] or is_lost(sent)):
                self.mark_lost(sent)

    def mark_all_lost(self) -> None:
        """After a timeout without SACK, or of a SYN."""
        self.mark_lost_where(_any)

    def assume_sacked(self, size: int) -> None:
        """Without SACK: so many bytes must have arrived, nobody knows which; but none of those that are lost."""
        self.sacked_out = max(min(size, self.outstanding - self.lost_out), 0)

    def again(self, sent: Sent, now: float) -> None:
        """One that is not lost, as far as is known, goes out again: a probe."""
        self._unlink(sent)
        sent.transmissions += 1
        sent.sent_time = now
        self._link_newest(sent)

    def unmark_lost(self) -> None:
        """The losses were none: what waits to be resent is on its way after all."""
        for sent in self.to_resend:
            sent.lost = False
            self.lost_out -= sent.end - sent.start
            self._link_newest(sent)
        self.to_resend.clear()

    def _index(self, seq: int) -> int:
        """Of the segment that begins at or before seq."""
        return bisect_right(self.segments, seq, key=_start_of) - 1

    def _settle(self, sent: Sent) -> None:
        """It has arrived: take it out of every count and list but `segments`."""
        size = sent.end - sent.start
        if sent.sacked:
            self.sacked_out -= size
            return
        if sent.lost:
            self.lost_out -= size
            sent.lost = False
            if sent.resent:
                self.resent_out -= size
                sent.resent = False
            else:
                self._take_out(sent)
                return
        self._unlink(sent)

    def _take_out(self, sent: Sent) -> None:
        """Of what waits to be resent."""
        del self.to_resend[bisect_left(self.to_resend, sent.start, key=_start_of)]

    def _merge(self, index: int, right: int) -> None:
        """Make one of sacked neighbours, from `index` up to `right`."""
        segments = self.segments
        while index + 1 < len(segments) and segments[index].start < right:
            sent, following = segments[index], segments[index + 1]
            if sent.sacked and following.sacked:
                merged = Sent(sent.start, following.end, following.sent_time)  # those two may just be in `delivered`
                merged.sacked = True
                segments[index : index + 2] = [merged]
            else:
                index += 1

    def _link_newest(self, sent: Sent) -> None:
        newest = self._newest
        sent.earlier, sent.later = newest, None
        if newest is None:
            self._oldest = sent
        else:
            newest.later = sent
        self._newest = sent

    def _link_before(self, sent: Sent, later: Sent) -> None:
        earlier = later.earlier
        sent.earlier, sent.later = earlier, later
        later.earlier = sent
        if earlier is None:
            self._oldest = sent
        else:
            earlier.later = sent

    def _unlink(self, sent: Sent) -> None:
        earlier, later = sent.earlier, sent.later
        if earlier is not None:
            earlier.later = later
        elif self._oldest is sent:
            self._oldest = later
        if later is not None:
            later.earlier = earlier
        elif self._newest is sent:
            self._newest = earlier
        sent.earlier = sent.later = None


def _any(sent: Sent) -> bool:
    return True
