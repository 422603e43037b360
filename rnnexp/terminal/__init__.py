"""What a user sees in a terminal: tables, and a running study. Takes values, gives text; decides nothing."""
