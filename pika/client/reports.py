"""What a program must hear of where nobody else can be told: it is logged, and seen."""

from __future__ import annotations

import logging
import sys


def tell_of_handler(logger: logging.Logger, consumer_tag: str, delivery_tag: int) -> None:
    """Report what a handler of messages has just raised.

    :param logger: whose report it is
    :param consumer_tag: its consumer
    :param delivery_tag: the message that it was given
    """
    _tell(
        logger,
        logging.ERROR,
        "The handler of consumer %r raised; the message with delivery tag %s stays unacknowledged unless the handler "
        "settled it: acknowledge and reject in try and except, or consume in a loop with message.process()",
        consumer_tag,
        delivery_tag,
    )


def tell_of_callback(logger: logging.Logger, callback: object) -> None:
    """Report what a callback has just raised.

    :param logger: whose report it is
    :param callback: the callback
    """
    _tell(logger, logging.ERROR, "The callback %r raised", callback)


def tell_of_stall(logger: logging.Logger, text: str) -> None:
    """Report that a connection stands still.

    :param logger: whose report it is
    :param text: why
    """
    _tell(logger, logging.WARNING, text)


def tell_of_end(logger: logging.Logger, what: str, error: BaseException, unheard: bool) -> None:
    """Report what the program has not ended itself.

    :param logger: whose report it is
    :param what: what has ended, in words
    :param error: why
    :param unheard: whether nobody else is told
    """
    if unheard:
        _tell(logger, logging.WARNING, "%s, and nobody waits who could be told: %s", what, error)
    else:
        logger.warning("%s: %s", what, error, stacklevel=2)


def _tell(logger: logging.Logger, level: int, text: str, *arguments: object) -> None:
    # An error is what was just raised.
    raised = sys.exc_info() if level == logging.ERROR else None
    logger.log(level, text, *arguments, exc_info=raised, stacklevel=3)
    last = logging.lastResort
    if last is not None and logger.isEnabledFor(level) and not _is_heard(logger):
        # The library's NullHandler keeps logging from doing this.
        last.handle(logger.makeRecord(logger.name, level, __file__, 0, text, arguments, raised, _tell.__name__))


def _is_heard(logger: logging.Logger) -> bool:
    """Say whether the program has chosen where a logger's records go, or that they go nowhere."""
    one: logging.Logger | None = logger
    while one is not None:
        if not one.propagate or any(not isinstance(handler, logging.NullHandler) for handler in one.handlers):
            return True
        one = one.parent
    return False
