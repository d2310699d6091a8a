"""How a connection or a channel ended, and whether its user knows."""

from __future__ import annotations

from pika import exceptions, spec


class ClosedBeforeCallError(exceptions.ConnectionWrongStateError, ValueError):
    """A call that waits for events was made on a connection that was closed before; pika 1.x raises ValueError."""


class Ending:
    """Why a blocking connection or channel is closed, once it is.

    Which call raises what:

    - a call that waits, or looks what has arrived before it sends, and is overtaken by the end, raises the reason;
    - later calls, and the first one where no call was overtaken, raise ``ChannelWrongStateError`` or
      ``ConnectionWrongStateError``, whose text has the reason.
    """

    def __init__(self) -> None:
        self.reason: BaseException | None = None
        #: Whether a call has raised the reason.
        self.told = False

    @property
    def by_user(self) -> bool:
        """Whether it was the user who closed the channel, or the connection with it."""
        if isinstance(self.reason, exceptions.ChannelClosedByClient):
            # Over a message that is too large the library closes the channel by itself.
            return self.reason.reply_code != spec.CONTENT_TOO_LARGE
        return isinstance(self.reason, exceptions.ConnectionClosedByClient)

    @property
    def is_news(self) -> bool:
        """Whether there is a reason that the user is to be told yet."""
        return self.reason is not None and not self.told and not self.by_user

    def tell(self) -> BaseException:
        """Return what to raise: the reason, told from now on."""
        self.told = True
        return self.reason or exceptions.ChannelWrongStateError("Channel is closed.")
