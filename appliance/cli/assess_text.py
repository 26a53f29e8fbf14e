"""What an assessment says, for people."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

from appliance.cli.output import print_row, print_table

if TYPE_CHECKING:
    from appliance.values import Assessment, WayScore


def show_assessment(result: dict[str, Any]) -> None:
    """Print the ways, the advice and its reasons.

    Args:
        result: an Assessment as JSON.
    """
    from appliance.units import format_seconds
    from appliance.values import Assessment

    made = Assessment.model_validate(result)
    if made.asked is not None:
        print_row(
            "Questions",
            f"{made.asked.num_questions} from {made.asked.num_documents} held-out documents, "
            f"{made.asked.num_options} answers to choose from; guessing scores 0.50",
        )
        head = ("way", "score", "95 % interval", "an answer", "before the first")
        print_table(head, [_describe_way(way, made) for way in made.ways])
    print_row("Advice", made.recommendation, *made.reasons)
    print_row("Cost", f"the whole tune: about {format_seconds(made.tune_seconds)} on this machine")
    following = {
        "tune": "appliance tune, with the same folder and options",
        "tune and search": "appliance tune, with the same folder and options",
        "too few documents to know": "add documents of the same kind, or questions with answers",
    }
    print_row("Next", following.get(made.recommendation, "no tuning is needed"))


def _describe_way(way: WayScore, made: Assessment) -> tuple[str, ...]:
    return (
        way.name,
        f"{way.score:.2f}",
        f"{way.low:.2f} to {way.high:.2f}",
        _format(way.seconds),
        _describe_preparation(way, made),
    )


def _describe_preparation(way: WayScore, made: Assessment) -> str:
    """What has to be done before a way can answer at all."""
    index = "" if made.asked is None else _format(made.asked.index_seconds)
    if way.name == "tuned+search":
        return f"tune {_format(made.tune_seconds)} + {index}"
    if way.name == "tuned":
        return f"tune {_format(made.tune_seconds)}"
    return f"index {index}" if way.name == "search" else "nothing"


def _format(seconds: float) -> str:
    from appliance.units import format_seconds

    return format_seconds(seconds)
