"""The paper's analyses (Sec. 4.4–4.6): its tables and figures, from this project's weights."""
