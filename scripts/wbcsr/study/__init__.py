"""What the study is: its plan, the names under which results appear, and the numbers that were published."""
