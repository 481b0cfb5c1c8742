"""Joins the people of successive frames of one camera into tracks, by motion and appearance."""
