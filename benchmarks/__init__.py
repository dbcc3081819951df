"""The load tester and the micro-benchmarks. They measure the relay from outside; the relay never imports them."""
