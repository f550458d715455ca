"""Vectors as pages to publish beside their files.

facts.py     what a passport says, in the words of a table
measured.py  what a sweep found of a vector: its rows, a table, a figure, the accuracy that its strength was chosen by
index.py     the page of a folder
card.py      the page of one vector on the Hub
"""
