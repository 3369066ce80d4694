"""What people and programs can ask of vmm, each operation once: wishes, plans, replays, backtests, answers.

Reading goes to the journal and needs no running Manager. Whatever changes something is a wish: a message
signed with the Manager's key, which is the authorisation, that reaches the stream like any event.
"""
