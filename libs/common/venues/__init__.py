"""The venues, one pure file each: wire text in, typed messages out, and the texts to send.

`messages` is what all of them say, `venue` what each of them provides, `numbers` how strictly their
texts are read. A new venue is a file here and its line in `VENUES`; a contract test runs every
entry over recorded messages and over damaged ones.
"""
