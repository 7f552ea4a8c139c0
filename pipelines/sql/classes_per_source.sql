-- Which source images were exported several times, into how many splits, and with which classes? A
-- shared name does not prove a leak.
SELECT i.source_stem, COUNT(DISTINCT i.image_id) AS images, COUNT(DISTINCT i.split) AS splits,
       COUNT(DISTINCT o.class_name) AS classes
FROM images AS i
LEFT JOIN objects AS o ON i.image_id = o.image_id
GROUP BY i.source_stem
HAVING COUNT(DISTINCT i.image_id) > 1
ORDER BY splits DESC, images DESC, i.source_stem
LIMIT 50;
