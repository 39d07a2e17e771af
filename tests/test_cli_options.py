"""Values of options that stand for one suite or for all."""

from fusebench.options import per_suite


def test_a_number_of_one_suite_goes_before_that_of_all():
    suites = ["bbh", "commonsense", "multipl_e"]
    assert per_suite("--limit", ["10", "commonsense=100"], suites, least=1) == {
        "bbh": 10,
        "commonsense": 100,
        "multipl_e": 10,
    }
    assert per_suite("--shots", ["bbh=0"], suites, least=0) == {"bbh": 0, "commonsense": None, "multipl_e": None}
    assert per_suite("--limit", None, suites, least=1) == dict.fromkeys(suites)
