"""Tests that judge.py finds what is wrong, and finds nothing in a history that is right."""

import copy
import unittest

import judge

A, B = "10.0.0.1:8080", "10.0.0.2:8080"


def line(kind: str, begin: float, end: float, told, **more) -> dict:
    return {"kind": kind, "client": 0, "from": begin, "to": end, "status": 200, "told": told,
            "name": "Tux", "failed": [], **more}


class Judge(unittest.TestCase):
    def setUp(self) -> None:
        self.history = [
            line("query", 0, 1, 100),
            line("order", 1, 2, 0, quantity=2),
            line("query", 3, 4, 98),
            line("order", 5, 7, 1, quantity=1),
            line("query", 6, 6.5, 97),
            line("look-up", 8, 9, {"number": 0, "name": "Tux", "quantity": 2}, number=0, quantity=2),
        ]
        self.faults = [{"name": "cut", "from": 4.5, "to": 6, "frontends": [A], "unavailable": False}]
        orders = [(0, "Tux", 2), (1, "Tux", 1)]
        self.databases = {name: list(orders) for name in ("journal", "order-1", "order-2", "order-3")}
        self.stock = {"Tux": 97}

    def found(self) -> str:
        wrong = judge.judge(self.history, self.faults, self.databases, self.stock, 100)
        return "\n".join(wrong)

    def test_nothing_is_wrong_with_this_one(self) -> None:
        self.history[3]["failed"] = [{"at": A, "from": 5, "to": 5.5, "outcome": "no answer"}]
        self.assertEqual(self.found(), "")
        row = judge.table(self.history, self.faults).splitlines()[2]
        self.assertEqual(row, "| cut | 1 | 1.5 | 2 | 0.50 | 2.00 | 1 | 0 |")

    def test_a_query_older_than_a_purchase_is_stale(self) -> None:
        self.history[2]["told"] = 99
        self.assertIn("told 99 when at most 98 were left", self.found())

    def test_a_query_older_than_a_query_is_stale(self) -> None:
        self.history.append(line("query", 6.6, 6.8, 98))
        self.assertIn("told 98 when at most 97 were left", self.found())

    def test_stock_that_was_not_bought_yet_is_missed(self) -> None:
        self.history[0]["told"] = 99
        self.assertIn("less than can have been bought", self.found())

    def test_a_request_without_an_answer_is_a_failure(self) -> None:
        self.history[2] |= {"status": None, "told": None}
        self.assertIn("never answered", self.found())

    def test_a_refusal_is_a_failure(self) -> None:
        self.history[5]["status"] = 404
        self.assertIn("answered 404", self.found())

    def test_an_attempt_may_fail_only_where_and_when_a_host_is_out(self) -> None:
        failed = {"at": B, "from": 5, "to": 5.5, "outcome": "no answer"}
        self.history[3]["failed"] = [failed]
        self.assertIn("though none should", self.found())
        failed |= {"at": A, "from": 6.5, "to": 7}
        self.assertIn("though none should", self.found())

    def test_503_is_due_only_while_the_store_cannot_sell(self) -> None:
        self.history[3]["failed"] = [{"at": B, "from": 5, "to": 5.5, "outcome": 503}]
        self.assertIn("though none should", self.found())
        self.faults[0]["unavailable"] = True
        self.assertEqual(self.found(), "")
        self.history[3]["failed"][0]["outcome"] = "no answer: ConnectionResetError()"
        self.assertIn("though none should", self.found())

    def test_a_lost_order_is_found(self) -> None:
        for orders in self.databases.values():
            orders.pop()
        self.stock["Tux"] = 98
        self.assertIn("lacks order (1, 'Tux', 1)", self.found())

    def test_a_doubled_order_is_found(self) -> None:
        for orders in self.databases.values():
            orders.append((2, "Tux", 1))
        self.stock["Tux"] = 96
        self.assertIn("has 3 orders, but 2 purchases were answered", self.found())

    def test_a_database_that_differs_is_found(self) -> None:
        self.databases["order-2"][1] = (1, "Tux", 3)
        self.assertIn("order-2 has other orders than journal", self.found())

    def test_a_gap_is_found(self) -> None:
        for orders in self.databases.values():
            orders[1] = (2, "Tux", 1)
        self.assertIn("there is a gap", self.found())

    def test_a_number_that_goes_back_in_time_is_found(self) -> None:
        lines = copy.deepcopy(self.history)
        lines[1]["told"], lines[3]["told"] = 1, 0
        self.history = lines
        self.assertIn("lower than one that was given before", self.found())

    def test_an_order_that_reads_otherwise_is_found(self) -> None:
        self.history[5]["told"] = {"number": 0, "name": "Tux", "quantity": 1}
        self.assertIn("look-up of 0 was answered", self.found())

    def test_stock_that_does_not_add_up_is_found(self) -> None:
        self.stock["Tux"] = 96
        self.assertIn("96 Tux are left", self.found())


if __name__ == "__main__":
    unittest.main()
