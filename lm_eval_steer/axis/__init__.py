"""Requests of the harness x interventions: what is asked, what the record holds, and the vote."""
