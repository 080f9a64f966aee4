"""What is printed cannot be used against whoever looks at it."""

import json

import pytest

from broker.cli import output


@pytest.mark.parametrize("text", ["\x1b[2J", "a\u202eb", "\x07", "\x9b31m", "line\nline", "\u200b"])
def test_what_would_move_or_colour_a_terminal_is_spelled_out(text):
    """An agent writes its purpose, and an operator reads it in a terminal."""
    shown = output.plain(text)
    assert shown.isprintable()
    assert "\\" in shown


def test_letters_of_every_language_stay_as_they_are():
    assert output.plain("Zusammenfassung für 顧客, déjà vu") == "Zusammenfassung für 顧客, déjà vu"


def test_a_table_cell_is_never_read_as_markup(capsys):
    output.table(["A"], [["[red]x[/red] \x1b[2J"]], empty="")
    assert capsys.readouterr().out == "A\n[red]x[/red] \\x1b[2J\n"


def test_an_empty_table_is_a_sentence_beside_the_answer(capsys):
    output.table(["A"], [], empty="There is nothing.")
    captured = capsys.readouterr()
    assert (captured.out, captured.err) == ("", "There is nothing.\n")


def test_fields_without_a_value_are_left_out_and_lists_keep_their_lines(capsys):
    output.fields({"one": "1", "none": "", "more": "a\nb"})
    assert capsys.readouterr().out == "one   1\nmore  a\n      b\n"


def test_json_keeps_to_ascii_so_that_it_cannot_steer_a_terminal_either(capsys):
    output.line({"purpose": "\x9b31m für"})
    text = capsys.readouterr().out
    assert text.isascii()
    assert json.loads(text) == {"purpose": "\x9b31m für"}


def test_a_document_is_one_json_value(capsys):
    output.document({"a": [1]})
    assert json.loads(capsys.readouterr().out) == {"a": [1]}
