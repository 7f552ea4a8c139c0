-- Which objects were missed by all predictions? Largest first, because those are the worst to miss.
SELECT m.image_id, m.line, m.true_class_name, o.area, o.shape
FROM matches AS m
JOIN objects AS o ON m.image_id = o.image_id AND m.line = o.line
WHERE m.kind = 'miss'
ORDER BY o.area DESC, m.image_id, m.line
LIMIT 30;
