"""The table of distributions in the documentation says what the code does."""

from docs.make_tables import PAGE, page


def test_the_table_of_distributions_is_up_to_date():
    assert PAGE.read_text() == page(), "run: python -m docs.make_tables"
